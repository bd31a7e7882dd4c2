"""The Debian packages with recorded noises, and the category of each of their sounds.

Licences are those that the packages' copyright files state for these files. Sounds that hold
speech, or that no one would take for a noise (jingles, lasers, monsters), are not listed.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NoisePackage:
    """A package with noises.

    Attributes:
        name: name of the binary package.
        licence: licence of the sounds, as an SPDX expression.
        folder: folder of the sounds in the package.
        categories: patterns (`fnmatch`, below the folder) by category; the first that matches a
            file decides.
    """

    name: str
    licence: str
    folder: str
    categories: dict[str, tuple[str, ...]]


PACKAGES = (
    NoisePackage(
        "asterisk-moh-opsound-wav",
        "CC-BY-SA-3.0",
        "usr/share/asterisk/moh",
        {"music": ("*.wav",)},
    ),
    NoisePackage(
        "bucklespring-data",
        "GPL-2.0-or-later",
        "usr/share/buckle/wav",
        {"keyboard": ("*.wav",)},
    ),
    NoisePackage(
        "etw-data",
        "GPL-2.0-or-later",
        "usr/share/games/etw",
        {"crowd": ("crowd/crowd*.wav", "snd/crowd.wav", "snd/boou.wav"), "dogs": ("snd/dog.wav",)},
    ),
    NoisePackage(
        "extremetuxracer-data",
        "GPL-2.0-or-later",
        "usr/share/games/etr",
        {
            "music": ("music/*.ogg",),
            "rustle": ("sounds/*_slide.wav",),
            "knocks": ("sounds/tree_hit.wav",),
        },
    ),
    NoisePackage(
        "frozen-bubble-data",
        "GPL-2.0-only",
        "usr/share/games/frozen-bubble/snd",
        {
            "music": ("frozen-mainzik-*.ogg", "introzik.ogg"),
            "crowd": ("applause.ogg",),
            "keyboard": ("typewriter.ogg",),
            "people": ("snore.ogg",),
        },
    ),
    NoisePackage(
        "lincity-ng-data",
        "GPL-2.0-or-later OR CC-BY-SA-2.0",
        "usr/share/games/lincity-ng",
        {
            "music": ("music/default/*",),
            "knocks": (
                "sounds/Blacksmith*.wav",
                "sounds/Build*.wav",
                "sounds/MonumentConstruction*.wav",
                "sounds/Raze*.wav",
                "sounds/Recycle*.wav",
                "sounds/Tip*.wav",
            ),
            "machines": (
                "sounds/CoalMine*.wav",
                "sounds/OreMine*.wav",
                "sounds/Industry*.wav",
                "sounds/Mill?.wav",
                "sounds/PowerCoal*.wav",
                "sounds/Pottery*.wav",
            ),
            "hum": ("sounds/PowerLine*.wav", "sounds/PowerSolar*.wav", "sounds/Substation*.wav"),
            "animals": ("sounds/Farm*.wav", "sounds/OrganicFarm*.wav"),
            "birds": ("sounds/Green*.wav", "sounds/Parkland*.wav"),
            "fire": ("sounds/Fire?.wav", "sounds/FireWasteland*.wav"),
            "alarms": ("sounds/FireStation*.wav",),
            "water": ("sounds/Harbor*.wav", "sounds/Water*.wav"),
            "crowd": ("sounds/SportsCroud*.wav",),
            "trains": ("sounds/RailTrain*.wav",),
            "traffic": ("sounds/DirtTrack*.wav", "sounds/Trafic*.wav"),
            "wind": ("sounds/WindMill*.wav",),
            "explosions": ("sounds/Rocket*.wav",),
        },
    ),
    NoisePackage(
        "minetest-data",
        "CC-BY-SA-3.0 AND CC-BY-3.0 AND CC0-1.0 AND MIT",
        "usr/share/games/minetest/games/minetest_game/mods",
        {
            "water": ("env_sounds/sounds/env_sounds_water*", "default/sounds/*water_footstep*"),
            "fire": ("fire/sounds/*", "default/sounds/default_furnace*", "env_sounds/*lava*"),
            "footsteps": ("default/sounds/*_footstep*",),
            "doors": ("doors/sounds/*", "xpanes/sounds/*", "default/sounds/default_chest_*"),
            "dishes": ("default/sounds/default_break_glass*",),
            "knocks": ("default/sounds/default_dig_*", "default/sounds/default_dug_metal*"),
            "rustle": ("default/sounds/default_gravel_d*", "default/sounds/default_ice_d*"),
            "trains": ("carts/sounds/*",),
            "explosions": ("tnt/sounds/tnt_explode.ogg",),
        },
    ),
    NoisePackage(
        "scratch",
        "CC-BY-SA-3.0",
        "usr/share/scratch/Media/Sounds",
        {
            "birds": ("Animal/Bird.wav", "Animal/Owl.wav", "Animal/Rooster.wav"),
            "dogs": ("Animal/Dog?.wav", "Animal/WolfHowl.wav"),
            "insects": ("Animal/Cricket*.wav",),
            "animals": ("Animal/*",),
            "water": ("Effects/Bubbles*", "Effects/Plunge*", "Effects/Ripples*", "Effects/Water*"),
            "traffic": ("Effects/*Passing.wav",),
            "doors": ("Effects/Door*",),
            "machines": ("Effects/SewingMachine.mp3",),
            "keyboard": ("Effects/Typing.mp3",),
            "bells": ("Effects/BellToll.wav",),
            "alarms": ("Electronic/ComputerBeeps?.wav",),
            "people": ("Human/BabyCry*", "Human/Cough*", "Human/Sneeze*", "Human/Laugh*"),
            "crowd": ("Human/PartyNoise.wav",),
            "footsteps": ("Human/Footsteps*",),
            "music": ("Music Loops/*", "Instruments/*", "Percussion/*"),
        },
    ),
    NoisePackage(
        "sonic-pi-samples",
        "CC0-1.0 AND MIT",
        "usr/share/sonic-pi/samples",
        {
            "music": ("loop_*.flac", "guit_*.flac", "ambi_piano.flac", "ambi_choir.flac"),
            "hum": ("ambi_drone.flac", "ambi_glass_hum.flac", "ambi_haunted_hum.flac"),
            "drums": ("bd_*.flac", "drum_*.flac", "sn_*.flac", "tabla_*.flac"),
            "crackle": ("vinyl_*.flac",),
            "doors": ("perc_door.flac",),
            "birds": ("misc_crow.flac",),
            "machines": ("mehackit_robot*.flac", "mehackit_phone*.flac"),
            "bells": ("perc_bell*.flac",),
            "knocks": ("perc_impact*.flac", "perc_snap*.flac", "elec_wood.flac"),
        },
    ),
    NoisePackage(
        "wesnoth-1.16-data",
        "GPL-2.0-or-later",
        "usr/share/games/wesnoth/1.16/data/core/sounds",
        {
            "birds": ("ambient/birds*.ogg", "ambient/morning.ogg"),
            "insects": ("ambient/night.ogg",),
            "fire": ("ambient/campfire.ogg", "fire.wav", "flame-big*.ogg", "fuse.ogg"),
            "water": ("ambient/ship.ogg",),
            "music": ("ambient/wardrums.ogg", "horn-signals/*.ogg"),
            "animals": ("horse-*", "bat-flapping.wav"),
            "dishes": ("gold.ogg", "potion.ogg"),
            "explosions": ("explosion.ogg", "gunshot.wav", "lightning*.ogg", "rumble.ogg"),
            "knocks": ("axe.ogg", "club*.ogg", "mace*", "staff*.ogg", "cave-in.ogg"),
        },
    ),
)
"""In the order of their names; together about 330 MB, of which wesnoth has 146 MB."""
