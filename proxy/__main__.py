"""`python -m proxy` is `xero-proxy`."""

import sys

from proxy.cli import main

sys.exit(main())
