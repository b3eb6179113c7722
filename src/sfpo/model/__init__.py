"""Everything about a language model that is not its training: loading, sampling, and settings of the machine it runs on."""
