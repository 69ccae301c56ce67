"""One program for each client. In: a step and its arguments, tabs between them. Out: one line of JSON, and
one more before the first step, when it is ready.

`{"ok": true, …}` is what the client returned, `{"ok": false, "error", "status", "text"}` one of its own
errors as a program that uses it sees it; with `"crashed": true` it was none of its own.
"""
