from typing import Literal

def diff(
    text1: str,
    text2: str,
    *,
    timelimit: float = ...,
    checklines: bool = ...,
    cleanup: Literal["Semantic", "Efficiency", "No"] = ...,
    counts_only: bool = ...,
) -> list[tuple[Literal["=", "+", "-"], int]]: ...
