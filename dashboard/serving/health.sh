#!/bin/sh
# Exit code 0 if the dashboard on $PORT of this machine answers.
exec python3 - "${PORT:-8501}" <<'END'
import sys
import urllib.request

urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/_stcore/health", timeout=5)
END
