"""HTTP messages as bytes: heads, framing and fields."""
