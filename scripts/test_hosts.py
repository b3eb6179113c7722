"""Train under the oldest, some middle and the newest versions of TRL and transformers, each in an environment of its own.

    python scripts/test_hosts.py [TRL ...]

Writes what was installed and how many tests passed to results/hosts/versions.json, and the table in docs/integrations/versions.md from it.
Needs uv on the path. Torch is the version of constraints.txt everywhere.
"""

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RECORD, PAGE = ROOT / "results" / "hosts" / "versions.json", ROOT / "docs" / "integrations" / "versions.md"
HOSTS = {
    # TRL: transformers, and how uv chooses among the versions of the rest.
    "1.9.0": ("5.17.0", "lowest-direct"),
    "1.13.0": ("5.18.0", "highest"),
    "1.14.0": ("5.20.0", "highest"),
    "1.16.0": ("5.24.0", "highest"),
}
"""TRL 1.14 is the last without a head in the model's forward. That of 1.15 runs on GPUs alone, so that not even TRL trains by it here."""
TESTS = ["tests/trl/test_trainer.py"]
SHOWN = ("trl", "transformers", "accelerate", "peft", "datasets", "torch")
START, END = "<!-- from results/hosts/versions.json by scripts/test_hosts.py -->", "<!-- end -->"


def main(wanted: list[str]) -> int:
    """Test each wanted version of TRL; returns 1 if a test failed under one."""
    rows = {row["versions"]["trl"]: row for row in json.loads(RECORD.read_text())} if RECORD.exists() else {}
    RECORD.parent.mkdir(parents=True, exist_ok=True)
    for trl in wanted or HOSTS:
        rows[trl] = _test(trl, *HOSTS[trl])
        kept = [rows[known] for known in HOSTS if known in rows]
        RECORD.write_text(json.dumps(kept, indent=2) + "\n")
        PAGE.write_text(with_table(PAGE.read_text(), kept))
    return int(any(row["failed"] for row in rows.values()))


def with_table(page: str, rows: list[dict]) -> str:
    """The page with the table of these rows in place of the one between the marks."""
    lines = [f"| {' | '.join(SHOWN)} | Python | passed | failed |", "|---" * (len(SHOWN) + 3) + "|"]
    for row in rows:
        cells = [row["versions"][name] for name in SHOWN] + [row["python"], str(row["passed"]), str(row["failed"])]
        lines.append(f"| {' | '.join(cells)} |")
    before, rest = page.split(START)
    return f"{before}{START}\n" + "\n".join(lines) + f"\n{END}{rest.split(END)[1]}"


def _test(trl: str, transformers: str, resolution: str) -> dict:
    folder = ROOT / ".venv-hosts" / trl
    python = folder / "bin" / "python"
    # uv reads another variable than pip for folders of wheels.
    environment = os.environ | {"UV_FIND_LINKS": os.environ.get("PIP_FIND_LINKS", ""), "OMP_NUM_THREADS": "1"}
    torch = re.search(r"^torch==.*$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    wanted = [
        f"trl=={trl}",
        f"transformers=={transformers}",
        torch.group(),
        "pytest>=8",
        "-e",
        f"{ROOT}[trl]",
    ]
    print(f"TRL {trl}, transformers {transformers}", flush=True)
    subprocess.run(
        ["uv", "venv", "--quiet", "--clear", "--python", sys.executable, folder], check=True, env=environment
    )
    install = ["uv", "pip", "install", "--quiet", "--python", python, "--resolution", resolution]
    subprocess.run([*install, *wanted], check=True, env=environment)
    report = folder / "report.xml"
    command = [python, "-m", "pytest", "-q", "--disable-warnings", "-p", "no:cacheprovider", f"--junitxml={report}"]
    subprocess.run([*command, *TESTS], cwd=ROOT, env=environment, check=False)
    counts = ElementTree.parse(report).getroot().find("testsuite").attrib
    failed = int(counts["failures"]) + int(counts["errors"])
    versions = "import importlib.metadata as m, json, sys; print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"
    installed = subprocess.run([python, "-c", versions, *SHOWN], capture_output=True, text=True, check=True).stdout
    return {
        "versions": json.loads(installed),
        "python": ".".join(map(str, sys.version_info[:3])),
        "tests": TESTS,
        "passed": int(counts["tests"]) - failed - int(counts["skipped"]),
        "failed": failed,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
