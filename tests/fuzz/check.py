"""Checks a description of an API: that it is valid OpenAPI 3.1, and that its examples fit their schemas.

Says what is wrong, a line for each, and ends with 1; ends with 0 without a word when all is well.
"""

import json
import sys

from jsonschema import Draft202012Validator, FormatChecker
from openapi_spec_validator import OpenAPIV31SpecValidator

URI = "urn:openapi"


def main(path):
    with open(path, encoding="utf-8") as file:
        description = json.load(file)
    wrong = [f"{'/'.join(map(str, error.absolute_path))}: {error.message}" for error in OpenAPIV31SpecValidator(description).iter_errors()]
    wrong += list(bad_examples(description, description, ""))
    print("\n".join(wrong[:50]))
    return 1 if wrong else 0


def bad_examples(description, node, place):
    """Goes through everything; whatever has a schema and examples of it is judged."""
    if isinstance(node, list):
        for at, item in enumerate(node):
            yield from bad_examples(description, item, f"{place}/{at}")
    if not isinstance(node, dict):
        return
    if isinstance(node.get("schema"), dict):
        values = [node["example"]] if "example" in node else []
        values += [one["value"] for one in node.get("examples", {}).values() if "value" in one]
        for value in values:
            yield from judge(description, node["schema"], value, place)
    for name, item in node.items():
        if name == "properties":
            for field, schema in item.items():
                yield from of_schema(description, schema, f"{place}/properties/{field}")
        if name not in ("example", "examples", "default"):
            yield from bad_examples(description, item, f"{place}/{name}")


def of_schema(description, schema, place):
    values = [schema["example"]] if "example" in schema else []
    values += schema.get("examples", [])
    values += [schema["default"]] if "default" in schema else []
    for value in values:
        yield from judge(description, schema, value, place)


def judge(description, schema, value, place):
    # The schema, with the rest of the description to refer to.
    whole = {"$id": URI, "components": description["components"], "allOf": [schema]}
    validator = Draft202012Validator(whole, format_checker=FormatChecker())
    for error in validator.iter_errors(value):
        yield f"{place}: {json.dumps(value)[:200]}: {error.message[:200]}"


sys.exit(main(sys.argv[1]))
