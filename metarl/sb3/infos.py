"""Infos of a step by the names that Stable-Baselines3 reads."""

from typing import Any

from torch import Tensor

Infos = list[dict[str, Any]]


def step_infos(truncated: Tensor, info: dict[str, Any], last: Any) -> Infos:
    """One dictionary for each environment; `last` are the last observations, [num_envs, ...] or such by name."""
    infos: Infos = [{"TimeLimit.truncated": value} for value in truncated.tolist()]
    for slot in info["_final_obs"].nonzero().flatten().tolist():
        own = {name: rows[slot] for name, rows in last.items()} if isinstance(last, dict) else last[slot]
        infos[slot]["terminal_observation"] = own
    for slot in info["_success"].nonzero().flatten().tolist() if "_success" in info else ():
        infos[slot]["is_success"] = bool(info["success"][slot])
    for name, values in info.get("measures", {}).items():
        for slot in (~values.isnan()).nonzero().flatten().tolist():
            infos[slot][name] = float(values[slot])
    return infos
