"""All parts together under Docker Compose; `app.py` is the stand-in for an app."""
