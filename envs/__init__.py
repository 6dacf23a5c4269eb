"""Task distributions, by the name under which `metarl.make` knows them; each module is imported on first use."""

DISTRIBUTIONS: dict[str, str] = {
    "bernoulli-bandit": "metarl.envs.bandit:BernoulliBandit",
    "tabular-mdp": "metarl.envs.tabular:TabularMDP",
    "grid-navigation": "metarl.envs.grids:GridNavigation",
    "dark-room": "metarl.envs.grids:DarkRoom",
    "point-navigation": "metarl.envs.navigation:PointNavigation",
    "sparse-point-navigation": "metarl.envs.navigation:SparsePointNavigation",
    "half-cheetah-velocity": "metarl.envs.half_cheetah:HalfCheetahVelocity",
    "half-cheetah-velocity-3": "metarl.envs.half_cheetah:HalfCheetahVelocity3",
    "half-cheetah-direction": "metarl.envs.half_cheetah:HalfCheetahDirection",
    "ant-direction": "metarl.envs.ant:AntDirection",
    "ant-goal": "metarl.envs.ant:AntGoal",
    "hopper-body": "metarl.envs.walkers:HopperBody",
    "walker-2d-body": "metarl.envs.walkers:Walker2dBody",
    "humanoid-direction": "metarl.envs.humanoid:HumanoidDirection",
}
