"""The page that documents the server and tries it out: Swagger UI from an installed package, nothing from elsewhere."""

from functools import cache
from importlib.resources import files

import fastapi_offline

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>regraft serve</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/begin.js"></script>
</body>
</html>
"""
_BEGIN = """SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: false,
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
});
"""
_TYPES = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript", "begin.js": "text/javascript"}


@cache
def part(name: str) -> tuple[bytes, str] | None:
    """Return a file that the page needs and its type; None for any other name."""
    kind = _TYPES.get(name)
    if kind is None:
        return None
    if name == "begin.js":
        return _BEGIN.encode(), kind
    return (files(fastapi_offline) / "static" / name).read_bytes(), kind
