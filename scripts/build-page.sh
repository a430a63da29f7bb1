#!/usr/bin/env bash
# The service map for browsers: its modules, its static files and the library that draws it, beside the server.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
to=dist/exporters/page/browser
npx tsc -p tsconfig.page.json
cp src/exporters/page/browser/{index.html,page.css,icon.svg} "$to"
cp node_modules/cytoscape/dist/cytoscape.esm.min.mjs "$to/cytoscape.js"
cp node_modules/cytoscape/LICENSE "$to/cytoscape.LICENSE"
