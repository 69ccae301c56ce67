"""Under what names the sidecar is reached, as far as strangers could own them."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from itertools import accumulate
from pathlib import Path

from proxy.core.wire.strict import Own

XERO_HOSTS = frozenset({b"api.xero.com", b"identity.xero.com"})
"""Names that callers keep in `Host` where these were made to resolve to the proxy."""
RESOLVER = Path("/etc/resolv.conf")


def own_names(allowed: Iterable[str], resolver: Path = RESOLVER, pod: str | None = None) -> Own:
    """The names that the setting allows, a leading dot meaning a whole domain, and Kubernetes' for a pod."""
    names = [name.encode() for name in allowed]
    pod = socket.gethostname() if pod is None else pod
    try:
        service = names_of_service(resolver.read_text("utf-8", "replace"), pod)
    except OSError:
        service = frozenset()
    return Own(
        frozenset(name for name in names if not name.startswith(b".")) | service,
        frozenset(name.removeprefix(b".") for name in names if name.startswith(b".")),
    )


def names_of_service(resolver: str, pod: str) -> frozenset[bytes]:
    """What callers in Kubernetes may call this pod's Service: `name.namespace`.

    The search list of `resolver`, the text of `/etc/resolv.conf`, tells the namespace. It may be a word that
    is a public top-level domain too (`dev`, `finance`), where strangers own names. So only those are taken
    with which the pod's own name begins, as it begins with the name of its Deployment.
    """
    searched = [line.split()[1:] for line in resolver.splitlines() if line.startswith("search")]
    domains = [domain.lower().split(".") for domain in (searched or [[]])[-1]]
    namespaces = {labels[0] for labels in domains if labels[1:2] == ["svc"]}
    starts = accumulate(pod.lower().split("-"), "{}-{}".format)
    return frozenset(f"{start}.{namespace}".encode() for start in starts for namespace in namespaces)
