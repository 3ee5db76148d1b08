"""An image of one static program and nothing else, as an archive that `ctr images import` takes. No registry, no builder."""

import hashlib
import io
import json
import pathlib
import tarfile


def _tar(files):
    """files: {name: (bytes, mode)}."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, (data, mode) in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), mode
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def write(archive, name, program):
    """name: NAME:TAG. The program becomes the image's entry point, under its own name."""
    program = pathlib.Path(program)
    layer = _tar({program.name: (program.read_bytes(), 0o755)})
    config = json.dumps({
        "architecture": "amd64", "os": "linux",
        "config": {"Entrypoint": [f"/{program.name}"], "User": "65535:65535"},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]}}).encode()
    digest = hashlib.sha256(config).hexdigest()
    manifest = [{"Config": f"{digest}.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    pathlib.Path(archive).write_bytes(_tar({
        "layer.tar": (layer, 0o644), f"{digest}.json": (config, 0o644),
        "manifest.json": (json.dumps(manifest).encode(), 0o644)}))
