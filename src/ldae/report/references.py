"""Bibliography: the entries of references.bib, each with the fields that were verified.

``checked`` names the fields that agree with public bibliographies or the authors' own pages
(November 2026). An entry with an empty ``checked`` was written from memory.
"""

from dataclasses import dataclass

BIBLIOGRAPHIES = "title, year, volume, pages and DOI, in several bibliographies"
PROCEEDINGS = (
    "title, year, DOI and pages (those of the open proceedings), in several bibliographies"
)


@dataclass(frozen=True)
class Reference:
    """One work.

    Attributes:
        key: Cited as ``[@key]`` in the methods text; the key in references.bib.
        kind: BibTeX's entry type.
        authors: ``Family, Given`` each; ``others`` last where the list is cut.
        title, year: As published.
        where: Journal or proceedings.
        volume, number, pages, doi, eprint: Empty where there is none; eprint is arXiv's number.
        checked: Fields that were verified, and the source; empty: none.
    """

    key: str
    kind: str
    authors: tuple[str, ...]
    title: str
    where: str
    year: int
    volume: str = ""
    number: str = ""
    pages: str = ""
    doi: str = ""
    eprint: str = ""
    checked: str = ""


REFERENCES = (
    Reference(
        "lozupone2026",
        "article",
        ("Lozupone, Gabriele", "Bria, Alessandro", "Fontanella, Francesco",
         "Meijer, Frederick J. A.", "De Stefano, Claudio", "Huisman, Henkjan"),
        "Latent Diffusion Autoencoders: Toward Efficient and Meaningful Unsupervised "
        "Representation Learning in Medical Imaging – A Case Study on Alzheimer's Disease",
        "Medical Image Analysis", 2026, "108", "", "103932", "10.1016/j.media.2026.103932",
        "2504.08635",
        "title, authors and eprint, on the preprint's page; volume, article number and DOI, in the "
        "first author's own list of this paper's citations",
    ),
    Reference(
        "zhang2022pdae",
        "inproceedings",
        ("Zhang, Zijian", "Zhao, Zhou", "Lin, Zhijie"),
        "Unsupervised Representation Learning from Pre-trained Diffusion Probabilistic Models",
        "Advances in Neural Information Processing Systems", 2022, "35", "", "22117–22130", "",
        "2212.12990", "title, year, volume, pages and eprint, in several bibliographies",
    ),
    Reference(
        "preechakul2022",
        "inproceedings",
        ("Preechakul, Konpat", "Chatthee, Nattanat", "Wizadwongsa, Suttisak",
         "Suwajanakorn, Supasorn"),
        "Diffusion Autoencoders: Toward a Meaningful and Decodable Representation",
        "IEEE/CVF Conference on Computer Vision and Pattern Recognition", 2022, "", "",
        "10619–10629", "10.1109/CVPR52688.2022.01036", "2111.15640", PROCEEDINGS,
    ),
    Reference(
        "rombach2022",
        "inproceedings",
        ("Rombach, Robin", "Blattmann, Andreas", "Lorenz, Dominik", "Esser, Patrick",
         "Ommer, Björn"),
        "High-Resolution Image Synthesis with Latent Diffusion Models",
        "IEEE/CVF Conference on Computer Vision and Pattern Recognition", 2022, "", "",
        "10684–10695", "10.1109/CVPR52688.2022.01042", "2112.10752", PROCEEDINGS,
    ),
    Reference(
        "song2021",
        "inproceedings",
        ("Song, Jiaming", "Meng, Chenlin", "Ermon, Stefano"),
        "Denoising Diffusion Implicit Models",
        "International Conference on Learning Representations", 2021, eprint="2010.02502",
        checked="title, authors, year and eprint, in several bibliographies",
    ),
    Reference(
        "lu2022",
        "inproceedings",
        ("Lu, Cheng", "Zhou, Yuhao", "Bao, Fan", "Chen, Jianfei", "Li, Chongxuan", "Zhu, Jun"),
        "DPM-Solver: A Fast ODE Solver for Diffusion Probabilistic Model Sampling in Around 10 "
        "Steps",
        "Advances in Neural Information Processing Systems", 2022, eprint="2206.00927",
        checked="title, authors, year and eprint, on a page of the preprint and in a bibliography",
    ),
    Reference(
        "wang2024belm",
        "inproceedings",
        ("Wang, Fangyikang", "Yin, Hubery", "Dong, Yuejiang", "Zhu, Huminhao", "Zhang, Chao",
         "Zhao, Hanbin", "Qian, Hui", "Li, Chen"),
        "BELM: Bidirectional Explicit Linear Multi-step Sampler for Exact Inversion in Diffusion "
        "Models",
        "Advances in Neural Information Processing Systems", 2024, eprint="2410.07273",
        checked="title, authors, year, proceedings and eprint, on the preprint's page and in the "
        "authors' repository",
    ),
    Reference(
        "liu2022",
        "inproceedings",
        ("Liu, Zhuang", "Mao, Hanzi", "Wu, Chao-Yuan", "Feichtenhofer, Christoph",
         "Darrell, Trevor", "Xie, Saining"),
        "A ConvNet for the 2020s",
        "IEEE/CVF Conference on Computer Vision and Pattern Recognition", 2022, "", "",
        "11976–11986", "10.1109/CVPR52688.2022.01167", "2201.03545", PROCEEDINGS,
    ),
    Reference(
        "pinaya2022",
        "inproceedings",
        ("Pinaya, Walter H. L.", "others"),
        "Brain Imaging Generation with Latent Diffusion Models",
        "Deep Generative Models (DGM4MICCAI), Lecture Notes in Computer Science", 2022, "13609",
        "", "117–126", "10.1007/978-3-031-18576-2_12", "2209.07162", BIBLIOGRAPHIES,
    ),
    Reference(
        "cardoso2022",
        "misc",
        ("Cardoso, M. Jorge", "others"),
        "MONAI: An open-source framework for deep learning in healthcare",
        "arXiv", 2022, eprint="2211.02701",
        checked="title, first author, year and eprint, in several bibliographies",
    ),
    Reference(
        "routier2021",
        "article",
        ("Routier, Alexandre", "Burgos, Ninon", "others"),
        "Clinica: An Open-Source Software Platform for Reproducible Clinical Neuroscience Studies",
        "Frontiers in Neuroinformatics", 2021, "15", "", "689675", "10.3389/fninf.2021.689675",
        checked="title, journal, year, article number and DOI, on the software's own pages",
    ),
    Reference(
        "gorgolewski2016",
        "article",
        ("Gorgolewski, Krzysztof J.", "Auer, Tibor", "Calhoun, Vince D.", "others"),
        "The brain imaging data structure, a format for organizing and describing outputs of "
        "neuroimaging experiments",
        "Scientific Data", 2016, "3", "", "160044", "10.1038/sdata.2016.44",
        checked=BIBLIOGRAPHIES,
    ),
    Reference(
        "tustison2010",
        "article",
        ("Tustison, Nicholas J.", "Avants, Brian B.", "Cook, Philip A.", "Zheng, Yuanjie",
         "Egan, Alexander", "Yushkevich, Paul A.", "Gee, James C."),
        "N4ITK: Improved N3 Bias Correction",
        "IEEE Transactions on Medical Imaging", 2010, "29", "6", "1310–1320",
        "10.1109/TMI.2010.2046908", checked=BIBLIOGRAPHIES,
    ),
    Reference(
        "tustison2021",
        "article",
        ("Tustison, Nicholas J.", "Cook, Philip A.", "Holbrook, Andrew J.", "others"),
        "The ANTsX ecosystem for quantitative biological and medical imaging",
        "Scientific Reports", 2021, "11", "", "9068", "10.1038/s41598-021-87564-6",
        checked=BIBLIOGRAPHIES,
    ),
    Reference(
        "fisch2024",
        "article",
        ("Fisch, Lukas", "Zumdick, Stefan", "Barkhau, Carlotta", "others"),
        "deepbet: Fast brain extraction of T1-weighted MRI using Convolutional Neural Networks",
        "Computers in Biology and Medicine", 2024, "179", "", "108845",
        "10.1016/j.compbiomed.2024.108845",
        checked="title, year, volume, article number and DOI, on the software's own page",
    ),
    Reference(
        "fonov2009",
        "article",
        ("Fonov, Vladimir S.", "Evans, Alan C.", "McKinstry, Robert C.", "Almli, C. Robert",
         "Collins, D. Louis"),
        "Unbiased nonlinear average age-appropriate brain templates from birth to adulthood",
        "NeuroImage", 2009, "47", "Supplement 1", "S102", "10.1016/S1053-8119(09)70884-5",
        checked=BIBLIOGRAPHIES,
    ),
    Reference(
        "fonov2011",
        "article",
        ("Fonov, Vladimir", "Evans, Alan C.", "Botteron, Kelly", "Almli, C. Robert",
         "McKinstry, Robert C.", "Collins, D. Louis"),
        "Unbiased average age-appropriate atlases for pediatric studies",
        "NeuroImage", 2011, "54", "1", "313–327", "10.1016/j.neuroimage.2010.07.033",
        checked=BIBLIOGRAPHIES,
    ),
    Reference(
        "wang2004",
        "article",
        ("Wang, Zhou", "Bovik, Alan C.", "Sheikh, Hamid R.", "Simoncelli, Eero P."),
        "Image Quality Assessment: From Error Visibility to Structural Similarity",
        "IEEE Transactions on Image Processing", 2004, "13", "4", "600–612",
        "10.1109/TIP.2003.819861", checked=BIBLIOGRAPHIES,
    ),
    Reference(
        "zhang2018",
        "inproceedings",
        ("Zhang, Richard", "Isola, Phillip", "Efros, Alexei A.", "Shechtman, Eli",
         "Wang, Oliver"),
        "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric",
        "IEEE/CVF Conference on Computer Vision and Pattern Recognition", 2018, "", "",
        "586–595", "10.1109/CVPR.2018.00068",
        checked="title, authors, year, pages and DOI, in several bibliographies",
    ),
    Reference(
        "pedregosa2011",
        "article",
        ("Pedregosa, Fabian", "others"),
        "Scikit-learn: Machine Learning in Python",
        "Journal of Machine Learning Research", 2011, "12", "", "2825–2830",
        checked="title, year, volume and pages, in several bibliographies",
    ),
    Reference(
        "molder2021",
        "article",
        ("Mölder, Felix", "Jablonski, Kim Philipp", "Letcher, Brice", "others"),
        "Sustainable data analysis with Snakemake",
        "F1000Research", 2021, "10", "", "33", "10.12688/f1000research.29032.2",
        checked=BIBLIOGRAPHIES,
    ),
)  # fmt: skip
ADNI = (
    "Data used in preparation of results on real data come from the Alzheimer's Disease "
    "Neuroimaging Initiative (ADNI). Its investigators contributed to the design and "
    "implementation of ADNI or provided data but did not participate in analysis or writing. "
    "ADNI's own wording of this acknowledgement has to be used in publications."
)
