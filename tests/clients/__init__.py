"""Real clients against the sidecar, unchanged but for their base URL.

    locks/       what is installed, exactly
    install      into `.clients/`, an environment for each
    matrix       clients, scenarios, and the cells that cannot be, with the reason
    pages        the examples of `deploy/clients/*.md`, as files that run
    drivers/     one small program a client: a step in, an answer out, both on one line
    driver       the tests' side of that
    stage        simulator, sidecar and a driver
    replies      answers of the proxy's own, to be met with one after the other
    conformance  the same calls direct and through the sidecar
    servers      what others wrote to stand in for Xero
    openapi      a request for each operation of Xero's own document

A driver runs the example of its client's page and then what it is told. It never judges: it says what its
client returned, which of its own errors came, or that something else was raised.
"""
