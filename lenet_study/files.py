"""Files and folders that appear whole or not at all, and what to do where they cannot."""

import contextlib
import errno
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lenet_keras.recipe import InputError

if TYPE_CHECKING:
    import pandas as pd


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A file to write, which becomes `path` when all went well and else disappears."""
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(folder: Path, overwrite: bool) -> Iterator[Path]:
    """A folder to write into, which becomes `folder` when all went well and else disappears.

    Raises:
        OSError: `folder` has been filled in the meantime, or cannot be written.
    """
    folder = folder.resolve()
    new = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    old = folder.with_name(f"{new.name}.old")
    try:
        new.mkdir(parents=True)
        yield new
        if overwrite and folder.exists():
            folder.rename(old)
        with contextlib.suppress(OSError):
            folder.rmdir()  # an empty one is in the way of a new one on Windows
        try:
            new.rename(folder)
        except BaseException:
            if old.exists():
                old.rename(folder)
            raise
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def write_csv(table: "pd.DataFrame", file: Path) -> None:
    """Write a table as a CSV file, whole or not at all.

    Raises:
        InputError: there is no such folder, or something else than a CSV file is there.
    """
    if not file.parent.is_dir():
        raise InputError(f"--csv {file}: there is no folder {file.parent}. Make it first.")
    if str(file) == "-":
        raise InputError("--csv -: name a file, as records.csv; without --csv they are listed.")
    if file.exists() and (file.suffix != ".csv" or not file.is_file()):
        raise InputError(
            f"--csv {file}: is there already and no CSV file, so it is not replaced. Choose "
            "another name."
        )
    with whole_file(file) as temporary:
        table.to_csv(temporary, index=False)


def remedy(error: OSError) -> str:
    """What mends an answer of the file system to somebody who writes, as half a sentence."""
    if error.errno in (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", None)):
        return "Free space"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "Make it writable"
    if error.errno == errno.ENOENT:
        return "Put it there"
    if error.errno == errno.ENAMETOOLONG:
        return "Shorten the names"
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return "Move the file that is where a folder should be"
    return "Look after the disk"
