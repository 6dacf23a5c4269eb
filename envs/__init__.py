"""Task distributions, by the name under which `metarl.make` knows them; each module is imported on first use."""

DISTRIBUTIONS: dict[str, str] = {
    "bernoulli-bandit": "metarl.envs.bandit:BernoulliBandit",
    "tabular-mdp": "metarl.envs.tabular:TabularMDP",
    "grid-navigation": "metarl.envs.grids:GridNavigation",
    "dark-room": "metarl.envs.grids:DarkRoom",
    "point-navigation": "metarl.envs.navigation:PointNavigation",
    "sparse-point-navigation": "metarl.envs.navigation:SparsePointNavigation",
    "two-doors": "metarl.envs.two_doors:TwoDoors",
    "bus-grid": "metarl.envs.bus_grid:BusGrid",
    "hidden-rooms": "metarl.envs.hidden_rooms:HiddenRooms",
    "mountain-treasure": "metarl.envs.mountain_treasure:MountainTreasure",
    "dark-key-to-door": "metarl.envs.dark_key_to_door:DarkKeyToDoor",
    "half-cheetah-velocity": "metarl.envs.half_cheetah:HalfCheetahVelocity",
    "half-cheetah-velocity-3": "metarl.envs.half_cheetah:HalfCheetahVelocity3",
    "half-cheetah-direction": "metarl.envs.half_cheetah:HalfCheetahDirection",
    "ant-direction": "metarl.envs.ant:AntDirection",
    "ant-goal": "metarl.envs.ant:AntGoal",
    "hopper-body": "metarl.envs.walkers:HopperBody",
    "walker-2d-body": "metarl.envs.walkers:Walker2dBody",
    "humanoid-direction": "metarl.envs.humanoid:HumanoidDirection",
}

# Families made from the environments of other packages, whose modules import those only when a family is made.
ADAPTED: dict[str, str] = {
    "frozen-lake": "metarl.envs.frozen_lake:frozen_lake",
    "minigrid": "metarl.envs.minigrid_tasks:minigrid",
    "minigrid-hidden-goal": "metarl.envs.minigrid_tasks:minigrid_hidden_goal",
    "meta-world-ml1": "metarl.envs.meta_world:ml1",
    "meta-world-ml10": "metarl.envs.meta_world:ml10",
    "meta-world-ml45": "metarl.envs.meta_world:ml45",
}
