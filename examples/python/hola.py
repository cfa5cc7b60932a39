"""The handler of hello.py: a job as JSON on stdin, its output as JSON on stdout.

Exit status 65 says that trying again is no use.
"""

import json
import sys

job = json.load(sys.stdin)
if job["operacion"] != "hola":
    print(f"no such operation: {job['operacion']}", file=sys.stderr)
    sys.exit(65)
json.dump({"salida": f"hola, {job['entrada']}"}, sys.stdout)
