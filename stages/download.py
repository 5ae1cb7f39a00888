"""Fetch the raw images and labels of `data.name` into data/raw, verified; there is nothing to fetch for your own.

    python -m stages.download

DATA_MIRROR names a folder or a base URL that is asked before the public mirrors; it holds
<data.name>/<file>, for instance mnist/train-images-idx3-ubyte.gz.
"""

import json
import shutil

from stages.dataset.catalogue import PACKAGED, load_dataset
from stages.dataset.fallback import SAMPLES, fallback_notice
from stages.dataset.folders import replaced
from stages.dataset.mirrors import NoMirrorReached, fetch
from stages.dataset.packaged import write_packaged
from stages.params.views import DownloadParams, load_params
from stages.paths import RAW
from stages.process.console import print_notice, progress_bar, warn
from stages.process.errors import UserError
from stages.tracking.stage import run_stage


def main() -> None:
    params = load_params(DownloadParams)
    used, requested = params.name, load_dataset(params.name)
    published = requested.published if requested else {}
    # Verified files stay in the folder after a failure, for the next attempt.
    with replaced(RAW, resume=True) as folder:
        for left in folder.iterdir():
            if left.name not in published:
                left.unlink()
        if published:
            try:
                size = sum(file.size for file in published.values())
                with progress_bar(size, f"download {requested.name}", "B", unit_scale=True) as bar:
                    fetch(requested, folder, bar.update)
            except NoMirrorReached as error:
                used = _sample(params.name, params.offline, str(error))
                shutil.rmtree(folder)
                folder.mkdir()
        if used in PACKAGED:
            write_packaged(used, folder)
        manifest = {"requested": params.name, "dataset": used, "fallback": used != params.name}
        (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    if manifest["fallback"]:
        print_notice(fallback_notice(params.name, used))


def _sample(name: str, offline: str, reasons: str) -> str:
    """Return the data set that stands in for `name`; raise `UserError` where there is or may be none."""
    message = f"no mirror of {name} can be reached: {reasons}\n"
    point = f"point DATA_MIRROR at a folder or URL with {name}/train-images-idx3-ubyte.gz and so on"
    if name not in SAMPLES:
        raise UserError(f"{message}Connect to the network, or {point}; {name} has no offline sample.")
    if offline == "fail":
        raise UserError(f"{message}Connect to the network, {point}, or set data.offline: sample in params.yaml.")
    warn(message.rstrip())
    return SAMPLES[name]


if __name__ == "__main__":
    run_stage(main, __doc__)
