"""Chinese drug-drug interactions in the format of the paper's CH-DDI."""
