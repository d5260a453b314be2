"""What to cite when results of this workflow are used."""

REFERENCES = (
    "Lozupone et al. Latent Diffusion Autoencoders: toward efficient and meaningful unsupervised "
    "representation learning in medical imaging – a case study on Alzheimer's disease. Medical "
    "Image Analysis 2026.",
    "Zhang, Zhao, Lin. Unsupervised representation learning from pre-trained diffusion "
    "probabilistic models (PDAE). NeurIPS 2022.",
    "Preechakul et al. Diffusion autoencoders: toward a meaningful and decodable representation. "
    "CVPR 2022.",
    "Rombach et al. High-resolution image synthesis with latent diffusion models. CVPR 2022.",
    "Song, Meng, Ermon. Denoising diffusion implicit models. ICLR 2021.",
    "Pinaya et al. Brain imaging generation with latent diffusion models. DGM4MICCAI 2022.",
    "Cardoso et al. MONAI: an open-source framework for deep learning in healthcare. 2022.",
    "Routier et al. Clinica: an open-source software platform for reproducible clinical "
    "neuroscience studies. Frontiers in Neuroinformatics 2021.",
    "Gorgolewski et al. The brain imaging data structure. Scientific Data 2016.",
    "Tustison et al. N4ITK: improved N3 bias correction. IEEE Transactions on Medical Imaging "
    "2010.",
    "Tustison et al. The ANTsX ecosystem for quantitative biological and medical imaging. "
    "Scientific Reports 2021.",
    "Fisch et al. deepbet: fast brain extraction of T1-weighted MRI using convolutional neural "
    "networks. Computers in Biology and Medicine 2024.",
    "Fonov et al. Unbiased nonlinear average age-appropriate brain templates from birth to "
    "adulthood. NeuroImage 2009.",
    "Wang et al. Image quality assessment: from error visibility to structural similarity. IEEE "
    "Transactions on Image Processing 2004.",
    "Zhang et al. The unreasonable effectiveness of deep features as a perceptual metric. CVPR "
    "2018.",
    "Mölder et al. Sustainable data analysis with Snakemake. F1000Research 2021.",
)
ADNI = (
    "Data used in preparation of results on real data come from the Alzheimer's Disease "
    "Neuroimaging Initiative (ADNI). Its investigators contributed to the design and "
    "implementation of ADNI or provided data but did not participate in analysis or writing. "
    "ADNI's own wording of this acknowledgement has to be used in publications."
)
