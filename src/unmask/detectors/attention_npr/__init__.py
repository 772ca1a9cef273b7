"""Attention-weighted multi-scale neighbouring pixel relationships."""

from unmask.detectors.attention_npr.model import AttentionNPR, AttentionNPRConfig

__all__ = ["AttentionNPR", "AttentionNPRConfig"]
