#!/usr/bin/env bash
# datasets 5.2.0: the feature Sequence({...}) no longer takes a list of dicts, one for each band of a galaxy, as builders
# written for earlier versions give it (the Multimodal Universe's among them). 3.6.0 turned such a list into a dict of
# lists; since 4.0 Sequence is another spelling of that dict of lists, and the list fails with an error that names
# neither the column nor the reason. List({...}) takes it, but writes another layout.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
cat > "$dir/galaxies.py" <<'PYTHON'
import sys

import datasets
import pyarrow.parquet as pq
from datasets import Dataset, Features, Sequence, Value

datasets.disable_progress_bars()
band = {"band": Value("string"), "flux": Sequence(Value("float32"))}
image = [{"band": name, "flux": [0.1, 0.2]} for name in "grz"]


def written(value, feature):
    """The type of the column as it is written, or the error."""
    try:
        features = Features({"image": feature, "id": Value("string")})
        made = Dataset.from_generator(lambda: iter([{"image": value, "id": "a"}]), features=features)
        made.to_parquet(f"{sys.argv[1]}/out.parquet")
    except Exception as error:
        while error.__cause__ is not None:
            error = error.__cause__
        return f"{type(error).__name__}: {error}"
    return str(pq.read_schema(f"{sys.argv[1]}/out.parquet").field("image").type)


print("datasets", datasets.__version__)
of_list = written(image, Sequence(band))
of_dict = written({name: [each[name] for each in image] for name in ("band", "flux")}, Sequence(band))
print("Sequence of a dict, given a list of dicts:", of_list)
print("Sequence of a dict, given a dict of lists:", of_dict)
as_seen = of_dict.startswith("struct<") and (of_list == of_dict) == (sys.argv[2] == "accepted")
sys.exit(0 if as_seen else 1)
PYTHON
for case in "3.6.0 accepted" "5.2.0 refused"; do
  read -r version expected <<<"$case"
  python3 -m venv "$dir/venv-$version"
  "$dir/venv-$version/bin/pip" install -q "datasets==$version"
  HF_HOME="$dir/home-$version" "$dir/venv-$version/bin/python" "$dir/galaxies.py" "$dir" "$expected"
done
