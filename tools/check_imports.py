"""Report import cycles among the modules of a package; exit with 1 if there are any.

Imports inside functions count: they only postpone a cycle. Imports under ``if TYPE_CHECKING`` do not count, since they
never run, and neither does the import of a package that Python makes before it imports one of its modules. So a
package may import its own modules, as long as none of them imports the package back.

This is finer than import-linter's contracts in pyproject.toml, which never compare a package with its own modules.

Example:
    python tools/check_imports.py ecmvae
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import grimp
import networkx


def main(package: str = "ecmvae") -> int:
    """Print every cycle with the lines that close it; returns the exit code."""
    imports = grimp.build_graph(package, exclude_type_checking_imports=True, cache_dir=None)
    cycles = list(find_cycles(imports))
    for cycle in cycles:
        print("cycle:")
        for importer, imported in zip(cycle, [*cycle[1:], cycle[0]], strict=True):
            lines = {
                each["line_number"]
                for each in imports.get_import_details(importer=importer, imported=imported)
            }
            print(f"  {importer} imports {imported} (line {', '.join(map(str, sorted(lines)))})")
    print(f"{package}: {len(imports.modules)} modules, {len(cycles)} import cycles")
    return 1 if cycles else 0


def find_cycles(imports: grimp.ImportGraph) -> Iterator[list[str]]:
    """The shortest cycle of each group of modules that reach each other."""
    graph = networkx.DiGraph()
    for importer in sorted(imports.modules):
        graph.add_edges_from(
            (importer, each) for each in sorted(imports.find_modules_directly_imported_by(importer))
        )
    for group in networkx.strongly_connected_components(graph):
        inside = graph.subgraph(group)
        if inside.edges:
            yield min(
                (networkx.shortest_path(inside, end, start) for start, end in inside.edges), key=len
            )


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
