"""One page about a config: what its rows are like, what becomes of them, and what the model will see of them.

config ──gather──▶ Facts ──advise──▶ Findings ┐
                    │ stream                  │
                    ├──survey──▶ every row    ├──page.html──▶ a file that needs no network
                    └──read_first──▶ packs    ┘
"""

from samsum_stream.inspection.report.page import make_page

__all__ = ["make_page"]
