"""A progress bar over environment steps, as a Stable-Baselines3 callback."""

from typing import Any, final

from stable_baselines3.common.callbacks import BaseCallback

from metarl.terminal import progress


@final
class StepProgress(BaseCallback):
    """Shows steps done, mean speed and the time left. A resumed run starts where it stopped."""

    def __init__(self) -> None:
        super().__init__()
        self._bar: Any = None

    def _on_training_start(self) -> None:
        total = self.locals["total_timesteps"]
        # smoothing=0 is the mean speed since the start: a recent speed would leave out the updates between rollouts
        self._bar = progress(total=total, initial=self.model.num_timesteps, unit="step", unit_scale=True, smoothing=0)

    def _on_step(self) -> bool:
        self._bar.update(self.model.num_timesteps - self._bar.n)
        return True

    def _on_training_end(self) -> None:
        self._bar.close()
