"""A process that attacks: it says in lines how far it is, and in the last one, as JSON, what became of it."""

import json
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

from harness import expect
from stage import Stage

HERE = Path(__file__).resolve().parent


class Attacker:
    """One of the programs in this folder, told its plan as JSON."""

    def __init__(self, stage: Stage, program: str, plan: dict[str, Any]) -> None:
        path = stage.rig.folder / f"{program}.json"
        path.write_text(json.dumps(plan))
        self.log = stage.rig.folder / f"{program}.log"
        with self.log.open("ab") as log:
            command = [sys.executable, "-B", str(HERE / program), str(path)]
            self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)

    def line(self, wanted: str, seconds: float) -> None:
        """Until it says so."""
        line = self._next(seconds)
        expect(line.strip() == wanted, f"the attacker did not say {wanted!r}, but {line[:300]!r}\n{self._said()}")

    def report(self, seconds: float, asked: str = "") -> Any:
        """What it has to tell in the end."""
        if asked:
            self.child.stdin.write(asked)
            self.child.stdin.flush()
        line = self._next(seconds)
        expect(line.startswith(("[", "{")), f"the attacker has not reported, but {line[:300]!r}\n{self._said()}")
        return json.loads(line)

    def _next(self, seconds: float) -> str:
        ready, _, _ = select.select([self.child.stdout], [], [], seconds)
        expect(ready, f"the attacker has said nothing for {seconds:g} s\n{self._said()}")
        return self.child.stdout.readline()

    def _said(self) -> str:
        return self.log.read_text()[-2000:]

    def close(self) -> None:
        """Ends it, and with it its connections."""
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()
        self.child.stdin.close()
        self.child.stdout.close()
