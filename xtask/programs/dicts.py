"""`dicts.py ROUNDS`: what scripts do: JSON to dicts, grouping, sorting, and back."""

import json
import sys
from collections import defaultdict


def make(round_number):
    return json.dumps(
        [
            {
                "id": i,
                "name": f"user {round_number}/{i}",
                "group": f"group {i % 37}",
                "tags": [f"tag {i % 11}", f"tag {i % 13}"],
                "score": i * 0.5,
            }
            for i in range(2000)
        ]
    )


def group(text):
    groups = defaultdict(list)
    for record in json.loads(text):
        groups[record["group"]].append({**record, "name": record["name"].upper()})
    return {name: sorted(found, key=lambda record: -record["score"]) for name, found in groups.items()}


total = 0
for round_number in range(int(sys.argv[1])):
    total += len(json.dumps(group(make(round_number))))
print(total)
