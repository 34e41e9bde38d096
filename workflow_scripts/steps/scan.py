"""Look for private data in all that the workflow has made to be shown. Stays in the zone."""

from pathlib import Path

from workflow_scripts.files import open_arrays
from workflow_scripts.privacy.scanner import LeakFound, Secrets, scan
from workflow_scripts.privacy.zones import ZONES
from workflow_scripts.step import Job, run

# Public data are the user's own, and metrics are marked as computed from private data. Initial
# populations are public, but what runs begin with.
APART = ("sensitive", "public", "evaluation")
SCANNED = [*(path for zone, path in ZONES.items() if zone not in APART), "results/public/initial/"]


def scan_results(job: Job) -> None:
    leaks = []
    for image_file in job.input.images:
        folder = Path(image_file).parent
        data = open_arrays(job.open(image_file))
        files = [path for path in job.input.embeddings if Path(path).is_relative_to(folder)]
        embeddings = [open_arrays(job.open(path))["embeddings"] for path in files]
        declared = job.settings["declared"][folder.name]
        secrets = Secrets.of(data["images"], data["labels"], embeddings, declared=declared)
        for number, path in enumerate(files):
            print(f"embedding {number}: {path}")
        found = scan(map(Path, SCANNED), secrets)
        print(f"{folder.name}: {len(found)} findings in {', '.join(SCANNED)}")
        leaks += [f"{leak} of {folder.name}" for leak in found]
    if leaks:
        raise LeakFound("\n".join(["private data outside the sensitive zone:", *leaks]))


if __name__ == "__main__":
    run(scan_results)
