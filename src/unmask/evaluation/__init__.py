"""Measure detectors on labelled images, next to the baselines that shortcuts reach, and compare them in pairs."""
