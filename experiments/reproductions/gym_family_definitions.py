"""Families of gymnasium's own environments that no option of metarl was tuned for; `metarl check` takes them, too.

cd experiments && metarl check gym_family_definitions:pendulum
"""

import metarl
from metarl.priors import Choice

cartpole = metarl.from_gym("CartPole-v1", parameters={"length": (0.25, 1.5), "masspole": (0.05, 0.5)})
cartpole_wiring = metarl.from_gym(
    "CartPole-v1", parameters={"force_mag": Choice((-10.0, 10.0)), "length": (0.25, 1.5), "masspole": (0.05, 0.5)}
)
pendulum = metarl.from_gym("Pendulum-v1", parameters={"g": (5.0, 15.0), "m": (0.5, 1.5), "l": (0.5, 1.5)})
acrobot = metarl.from_gym("Acrobot-v1", parameters={"LINK_LENGTH_1": (0.5, 1.5), "LINK_LENGTH_2": (0.5, 1.5)})
lunar_lander = metarl.from_gym("LunarLander-v3", parameters={"gravity": (-11.9, -4.0), "wind_power": (0.0, 20.0)})
