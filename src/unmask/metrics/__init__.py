"""Image, pixel and calibration metrics, and the statistics that compare them."""
