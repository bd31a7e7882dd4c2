"""A2S-SFT: supervised fine-tuning of the robust adapter in phases (`mega-asr train sft`)."""
