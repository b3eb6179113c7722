"""Everything about a language model except its training: loading, sampling, and settings of the machine it runs on."""
