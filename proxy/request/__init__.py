"""The life of a request, from its arrival to its one answer."""
