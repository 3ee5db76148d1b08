"""Which files may hold a secret, tried with the kernel's own users: as root and as nobody, by links, and never a file others read."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

import loans
from weir import BIN

ROOT = pathlib.Path(__file__).resolve().parents[2]
UID, GID = 64100, 64200  # those of the image
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="files of several users are made by root alone")


def as_user(uid=UID, gid=GID):
    """Arguments of subprocess.run: that user, that group and no other."""
    return {"user": uid, "group": gid, "extra_groups": []} if uid else {}


# owner, group, mode, and whether root (r) or the image's user (u) may use it
FILES = [
    (0, 0, 0o600, "r"), (0, 0, 0o400, "r"),  # the user cannot even open it
    (0, GID, 0o440, "u"), (0, GID, 0o640, "u"), (0, GID, 0o400, "r"), (0, GID, 0o600, "r"),
    (0, GID, 0o444, ""), (0, GID, 0o644, ""), (0, GID, 0o660, ""), (0, GID, 0o460, ""), (0, GID, 0o450, ""), (0, GID, 0o442, ""),
    (0, GID, 0o441, ""), (UID, GID, 0o600, "u"), (UID, GID, 0o400, "u"), (UID, GID, 0o440, ""), (UID, GID, 0o640, ""),
    (UID, GID, 0o604, ""), (UID, GID, 0o610, ""), (1, GID, 0o440, ""), (1, GID, 0o600, ""), (1, 0, 0o644, ""),
]


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("owner, group, mode, who", FILES)
def test_a_file_of_any_owner_and_mode(make_weir, directory, owner, group, mode, who, linked):
    """The owner's DSN, `file:` secret as every other: read by plan, as two users; links are followed and change nothing."""
    w = make_weir(loans.pipeline())
    held = directory / ("..data" if linked else "held")
    held.mkdir()
    held.chmod(0o755)
    secret = held / "dsn"
    secret.write_text(w.dsn + "\n")
    name = secret
    if linked:
        (directory / "here").symlink_to("..data")
        name = directory / "dsn"
        name.symlink_to("here/dsn")
    w.file.write_text(w.file.read_text().replace("${WEIR_DSN}", f"file:{name}"))
    os.chown(secret, owner, group)
    secret.chmod(mode)
    for letter, uid in (("r", 0), ("u", UID)):
        done = subprocess.run([BIN / "weir", "plan", w.file], env=w.env, cwd=w.directory, text=True, capture_output=True,
                              timeout=60, **as_user(uid))
        expected = 0 if letter in who else 77
        assert done.returncode == expected, f"{letter} {oct(mode)} of {owner}:{group}: {done.returncode}\n{done.stderr}"
        if expected:
            assert str(name) in done.stderr and w.dsn not in done.stderr
        reader = ("import os, sys; sys.path.insert(0, sys.argv[1]); from weir_reader import keyfile, errors\n"
                  "try: keyfile.read_passphrase(sys.argv[2])\n"
                  "except (errors.Permissions, PermissionError): sys.exit(77)")
        done = subprocess.run([sys.executable, "-B", "-c", reader, ROOT / "clients" / "python", name], text=True,
                              capture_output=True, timeout=60, **as_user(uid))
        assert done.returncode == expected, f"reader, {letter} {oct(mode)} of {owner}:{group}: {done.stderr}"


def test_what_is_no_file_is_refused_at_once(make_weir, directory):
    w = make_weir(loans.pipeline())
    os.mkfifo(directory / "pipe", 0o600)
    (directory / "place").mkdir(0o700)
    (directory / "loop").symlink_to("loop")
    for name, code in (("pipe", 77), ("place", 77), ("loop", 77), ("none", 78)):
        w.file.write_text(loans.pipeline().replace("${WEIR_DSN}", f"file:{directory / name}"))
        assert str(directory / name) in w.command("plan", w.file, codes=(code,), timeout=20).stderr


def test_logins_and_secrets_of_sources_are_held_to_it(make_weir, rabbit):
    """What the supervisor hands to workers: a login, a source's secret, the key of queue identities."""
    queue = "secretfiles"
    w = make_weir(loans.pipeline(more="rid_key: file:rid.key\n",
                                 sources={"offer": f"rabbitmq: {{ url: \"file:url\", queue: {queue}, identity: message-id }}"}))
    rabbit.create_queue(queue)
    url = w.directory / "url"
    url.touch(0o600)
    url.write_text(rabbit.url() + "\n")
    for s in ("application", "workitem"):
        loans.write(w.data / f"{s}.ndjson", [])
        (w.data / f"{s}.ndjson").chmod(0o644)
    w.apply()
    w.run()
    for file in (w.directory / "logins" / "load.login", url, w.directory / "rid.key"):
        file.chmod(0o640)
        said = w.command("run", "--until", "now", w.file, codes=(77,), timeout=60).stderr
        assert f"{file}: others than its owner have rights on it (mode 0640); chmod 600 it" in said
        assert file.name == "url" or str(file) in w.command("check", w.file, codes=(78,)).stdout
        kept = file.with_name("kept")
        file.rename(kept)
        kept.chmod(0o600)
        file.symlink_to("kept")
        w.run()
        file.unlink()
        kept.rename(file)
    assert w.json("check", w.file)["outcome"] == "good"


def test_check_takes_a_mounted_secret_as_it_is(make_weir):
    """A directory that is everybody's by its mode, on a file system that nobody can write to."""
    w = make_weir(loans.pipeline())
    w.apply()
    logins = w.directory / "logins"
    w.directory.joinpath("kept").mkdir()
    for file in logins.iterdir():
        shutil.copy(file, w.directory / "kept" / file.name)
        (w.directory / "kept" / file.name).chmod(0o600)
    (w.directory / "kept").chmod(0o777)
    logins.rename(w.directory / "before")
    logins.symlink_to("kept")
    assert f"{logins}: others may use it" in w.command("check", w.file, codes=(78,)).stdout
    logins.unlink()
    logins.mkdir()
    mounted = subprocess.run(["mount", "--bind", "-o", "ro", w.directory / "kept", logins], capture_output=True)
    if mounted.returncode:
        pytest.skip("no file system may be mounted here")
    try:
        assert w.json("check", w.file)["outcome"] == "good"
    finally:
        subprocess.run(["umount", logins], check=True)
