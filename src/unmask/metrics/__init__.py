"""How good is a detector: exact metrics of images, pixels and videos, calibration, and statistics of comparisons.

Everything here is numpy on the CPU; no metric needs a device, and none turns "cannot be measured" into a number.
"""
