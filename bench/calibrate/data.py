#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Puts iris, wine, breast_cancer and digits as plain CSV (features, label last, no header) into a folder, once.

usage: data.py FOLDER      they come from the scikit-learn wheel on PyPI; nothing is imported or installed
Ends with status 1 and one line when the wheel cannot be had; the folder keeps what it had.
"""
import glob, gzip, os, subprocess, sys, tempfile, zipfile

VERSION = "1.5.2"
SETS = {"iris": "iris.csv", "wine": "wine_data.csv", "breast_cancer": "breast_cancer.csv", "digits": "digits.csv.gz"}


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = sys.argv[1]
    if all(os.path.exists(f"{folder}/{name}.csv") for name in SETS):
        return
    os.makedirs(folder, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as work:
        done = subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                               "--only-binary", ":all:", "--dest", work, f"scikit-learn=={VERSION}"], check=False)
        wheels = glob.glob(work + "/*.whl")
        if done.returncode != 0 or not wheels:
            sys.exit(f"data: could not get scikit-learn {VERSION} from PyPI")
        with zipfile.ZipFile(wheels[0]) as wheel:
            for name, file in SETS.items():
                raw = wheel.read("sklearn/datasets/data/" + file)
                text = (gzip.decompress(raw) if file.endswith(".gz") else raw).decode()
                lines = [l for l in text.replace("\r", "").split("\n") if l]
                if name != "digits":
                    lines = lines[1:]  # rows, columns, class names
                with open(f"{folder}/{name}.csv.part", "w") as out:
                    out.write("\n".join(lines) + "\n")
                os.replace(f"{folder}/{name}.csv.part", f"{folder}/{name}.csv")


main()
