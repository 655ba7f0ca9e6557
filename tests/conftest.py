"""What holds for every test: none of them sees the accounts of whoever runs it."""

from __future__ import annotations

import os
import tempfile

os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="foveal-tests-")
