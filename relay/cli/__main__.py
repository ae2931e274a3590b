"""`python -m relay.cli` is `postern-relay`."""

import sys

from relay.cli import main

sys.exit(main())
