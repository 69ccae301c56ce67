"""What operators see: the log, metrics and the status of every organisation."""
