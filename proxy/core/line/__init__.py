"""The order in which those who wait may ask for a permit."""
