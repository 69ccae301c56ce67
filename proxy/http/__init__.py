"""HTTP on both sides: callers' connections, connections to Xero, and bodies on their way."""
