"""Clips: what changes between the frames of a video and should not."""

from unmask.detectors.temporal.model import Temporal, TemporalConfig

__all__ = ["Temporal", "TemporalConfig"]
