"""Every limit and hold, and the one decision over all of them."""
