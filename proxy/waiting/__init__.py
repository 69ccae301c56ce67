"""Who waits for a permit, for how long, and who goes next."""
