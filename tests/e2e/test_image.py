"""The image, run as Docker and Kubernetes run it: one read-only root, no capabilities, any user."""

import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
VERSION = (ROOT / "VERSION").read_text().strip()
MEBIBYTE = 1 << 20


def test_any_user_runs_it(image, make_container):
    for n, user in enumerate((image.user, (10001, 64200), (2000000000, 1))):
        container = make_container(f"c{n}", ["--version"], user=user)
        assert container.run() == 0, container.tail()
        assert container.text().strip() == f"weir {VERSION}"


def test_size(image):
    print(f"\n*** the image: {image.bytes / MEBIBYTE:.1f} MiB unpacked ***")
    assert image.bytes <= 60_000_000
