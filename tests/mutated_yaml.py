"""Configuration files with slips in them: each is read as it means, or refused with its name.

    python tests/mutated_yaml.py 10000 0

reads that many mutated copies of the files in configs/, drawn from a seed, as `train` and `study`
and `search` read them, and prints how many were accepted and refused, and every other answer.
"""

import collections
import random
import re
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

from lenet_keras.recipe import InputError, read_recipe
from lenet_study.search import Search
from lenet_study.study import Study

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.yaml"))
READERS = (read_recipe, Study.from_yaml, Search.from_yaml)
VALUES = (
    *("010", "1:30", "0x1F", "1_000", "1e3", ".inf", ".nan", "-1", "0", "1e400", "9" * 5000),
    *("yes", "off", "true", "null", "~", "", "2024-13-45", "2024-01-01", "!!int x", "!!float ''"),
    *("[]", "{}", "[1, [2]]", "{a: {b: 1}}", "&a [*a]", "*nowhere", "<<: 3", "'", '"', "ß", "\x00"),
    *("[" * 2000, "{a: " * 300, "99999999", "!!python/object:os.system x", "!!timestamp x"),
)


def mutated(seed: int, number: int) -> tuple[str, bytes]:
    """The name and the content of one file with one to four slips."""
    draw = random.Random(f"{seed} {number}")
    path = draw.choice(CONFIGS)
    text = path.read_text(encoding="utf-8")
    for _ in range(draw.randint(1, 4)):
        text = _slip(text, draw)
    content = text.encode("utf-8", "surrogatepass")
    if draw.random() < 0.02:  # another encoding
        content = content[: len(content) // 2] + b"\xff" + content[len(content) // 2 :]
    return path.name, content


def _slip(text: str, draw: random.Random) -> str:
    lines = text.split("\n")
    i, j = draw.randrange(len(lines)), draw.randrange(len(lines))
    spot = draw.randrange(len(text) + 1)
    words = list(re.finditer(r"[\w.+-]+", text)) or [re.match("", text)]
    one, other = draw.choice(words), draw.choice(words)
    kind = draw.randrange(10)
    if kind == 0:
        lines.pop(i)
    elif kind == 1:
        lines.insert(i, lines[j])
    elif kind == 2:
        lines[i], lines[j] = lines[j], lines[i]
    elif kind == 3:
        lines[i] = " " * draw.randint(1, 4) + lines[i].lstrip()
    elif kind == 4:
        another = draw.choice(CONFIGS).read_text(encoding="utf-8").split("\n")
        lines.insert(i, draw.choice(another))
    elif kind == 5:
        return text[:spot] + draw.choice("[]{}:,-#&*!|>'\"%@`?\t\n 0aé\udc80") + text[spot:]
    elif kind == 6:
        return text[:spot] + text[spot + draw.randint(1, 8) :]
    elif kind == 7:
        return text[: one.start()] + other.group() + text[one.end() :]
    elif kind == 8:
        return text[:spot]
    else:
        return text[: one.start()] + draw.choice(VALUES) + text[one.end() :]
    return "\n".join(lines)


def answers(count: int, seed: int, folder: Path) -> Iterator[tuple[str, str]]:
    """What each of `READERS` answers to each file: "accepted", "refused", "traceback" or "slow",
    and what is wrong with that, if anything is."""
    for number in range(count):
        name, content = mutated(seed, number)
        path = folder / name
        path.write_bytes(content)
        for reader in READERS:
            started = time.monotonic()
            kind, fault = "accepted", ""
            try:
                reader(path)
            except InputError as error:
                # The file, then a line or a field or what a list of fields lacks.
                kind = "refused"
                if not re.match(re.escape(str(path)) + r"(, line \d+)?: \S", str(error)):
                    fault = f"{number}: names no file: {error}"
            except Exception:
                kind, fault = "traceback", f"{number}: {traceback.format_exc()}"
            if time.monotonic() - started > 20:
                kind, fault = "slow", f"{number}: {time.monotonic() - started:.0f} s"
            yield kind, fault


if __name__ == "__main__":
    found: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as temporary:
        for kind, fault in answers(int(sys.argv[1]), int(sys.argv[2]), Path(temporary)):
            found[kind] += 1
            if fault:
                found["wrong"] += 1
                print(fault[-2000:])
    print(dict(found))
    sys.exit(bool(found["wrong"]))
