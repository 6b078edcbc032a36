"""The literature behind the decisions: from the short reference beside an entry to BibTeX.

Entries cite as ``He et al. 2015, arXiv 1502.01852``; ``found`` finds the work by its arXiv number, or by first author
and year.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Work:
    """A publication: BibTeX's fields, and by what a reference means it."""

    kind: str
    authors: str
    year: int
    title: str
    venue: str
    arxiv: str = ""

    @property
    def first(self) -> str:
        """The first author's surname."""
        return self.authors.split(",")[0]

    @property
    def key(self) -> str:
        """``he2015delving``."""
        word = re.sub(r"[^a-z]", "", self.title.lower().split()[0])
        return f"{self.first.lower().replace(' ', '')}{self.year}{word}"

    def bibtex(self) -> str:
        """The entry as BibTeX."""
        field = "journal" if self.kind == "article" else "booktitle"
        lines = [
            f"  author = {{{self.authors}}},",
            f"  title = {{{{{self.title}}}}},",
            f"  {field} = {{{self.venue}}},",
        ]
        lines += [f"  year = {{{self.year}}},"]
        lines += [f"  eprint = {{{self.arxiv}}},", "  archivePrefix = {arXiv},"] if self.arxiv else []
        return "\n".join([f"@{self.kind}{{{self.key},", *lines, "}"])


_PROCEEDINGS, _ARTICLE = "inproceedings", "article"
WORKS = (
    Work(
        _PROCEEDINGS,
        "LeCun, Yann and Bottou, Léon and Orr, Genevieve B. and Müller, Klaus-Robert",
        1998,
        "Efficient BackProp",
        "Neural Networks: Tricks of the Trade",
    ),
    Work(
        _ARTICLE,
        "Gers, Felix A. and Schmidhuber, Jürgen and Cummins, Fred",
        2000,
        "Learning to Forget: Continual Prediction with LSTM",
        "Neural Computation 12(10)",
    ),
    Work(
        _PROCEEDINGS,
        "Glorot, Xavier and Bengio, Yoshua",
        2010,
        "Understanding the difficulty of training deep feedforward neural networks",
        "AISTATS",
    ),
    Work(_PROCEEDINGS, "Martens, James", 2010, "Deep learning via Hessian-free optimization", "ICML"),
    Work(
        _PROCEEDINGS,
        "Saxe, Andrew M. and McClelland, James L. and Ganguli, Surya",
        2014,
        "Exact solutions to the nonlinear dynamics of learning in deep linear neural networks",
        "ICLR",
        "1312.6120",
    ),
    Work(
        _PROCEEDINGS,
        "Yosinski, Jason and Clune, Jeff and Bengio, Yoshua and Lipson, Hod",
        2014,
        "How transferable are features in deep neural networks?",
        "NeurIPS",
        "1411.1792",
    ),
    Work(
        _PROCEEDINGS,
        "He, Kaiming and Zhang, Xiangyu and Ren, Shaoqing and Sun, Jian",
        2015,
        "Delving Deep into Rectifiers: Surpassing Human-Level Performance on ImageNet Classification",
        "ICCV",
        "1502.01852",
    ),
    Work(
        _PROCEEDINGS,
        "Ioffe, Sergey and Szegedy, Christian",
        2015,
        "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift",
        "ICML",
        "1502.03167",
    ),
    Work(
        _PROCEEDINGS,
        "Jozefowicz, Rafal and Zaremba, Wojciech and Sutskever, Ilya",
        2015,
        "An Empirical Exploration of Recurrent Network Architectures",
        "ICML",
    ),
    Work(
        _ARTICLE,
        "Le, Quoc V. and Jaitly, Navdeep and Hinton, Geoffrey E.",
        2015,
        "A Simple Way to Initialize Recurrent Networks of Rectified Linear Units",
        "arXiv preprint",
        "1504.00941",
    ),
    Work(_PROCEEDINGS, "Mishkin, Dmytro and Matas, Jiri", 2016, "All you need is a good init", "ICLR", "1511.06422"),
    Work(
        _PROCEEDINGS,
        "Salimans, Tim and Kingma, Diederik P.",
        2016,
        "Weight Normalization: A Simple Reparameterization to Accelerate Training of Deep Neural Networks",
        "NeurIPS",
        "1602.07868",
    ),
    Work(
        _PROCEEDINGS,
        "Chen, Tianqi and Goodfellow, Ian and Shlens, Jonathon",
        2016,
        "Net2Net: Accelerating Learning via Knowledge Transfer",
        "ICLR",
        "1511.05641",
    ),
    Work(
        _PROCEEDINGS,
        "Press, Ofir and Wolf, Lior",
        2017,
        "Using the Output Embedding to Improve Language Models",
        "EACL",
        "1608.05859",
    ),
    Work(
        _ARTICLE,
        "Zagoruyko, Sergey and Komodakis, Nikos",
        2017,
        "DiracNets: Training Very Deep Neural Networks Without Skip-Connections",
        "arXiv preprint",
        "1706.00388",
    ),
    Work(
        _PROCEEDINGS,
        "Carreira, João and Zisserman, Andrew",
        2017,
        "Quo Vadis, Action Recognition? A New Model and the Kinetics Dataset",
        "CVPR",
        "1705.07750",
    ),
    Work(
        _PROCEEDINGS,
        "Lin, Tsung-Yi and Goyal, Priya and Girshick, Ross and He, Kaiming and Dollár, Piotr",
        2017,
        "Focal Loss for Dense Object Detection",
        "ICCV",
        "1708.02002",
    ),
    Work(
        _PROCEEDINGS,
        "Xiao, Lechao and Bahri, Yasaman and Sohl-Dickstein, Jascha and Schoenholz, Samuel S. and Pennington, Jeffrey",
        2018,
        "Dynamical Isometry and a Mean Field Theory of CNNs: How to Train 10,000-Layer Vanilla Convolutional Neural "
        "Networks",
        "ICML",
        "1806.05393",
    ),
    Work(
        _PROCEEDINGS,
        "Jacob, Benoit and Kligys, Skirmantas and Chen, Bo and Zhu, Menglong and Tang, Matthew and Howard, Andrew "
        "and Adam, Hartwig and Kalenichenko, Dmitry",
        2018,
        "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
        "CVPR",
        "1712.05877",
    ),
    Work(
        _PROCEEDINGS,
        "Devlin, Jacob and Chang, Ming-Wei and Lee, Kenton and Toutanova, Kristina",
        2019,
        "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding",
        "NAACL",
        "1810.04805",
    ),
    Work(
        _PROCEEDINGS,
        "Zhang, Hongyi and Dauphin, Yann N. and Ma, Tengyu",
        2019,
        "Fixup Initialization: Residual Learning Without Normalization",
        "ICLR",
        "1901.09321",
    ),
    Work(
        _PROCEEDINGS,
        "Gong, Linyuan and He, Di and Li, Zhuohan and Qin, Tao and Wang, Liwei and Liu, Tieyan",
        2019,
        "Efficient Training of BERT by Progressively Stacking",
        "ICML",
    ),
    Work(
        _PROCEEDINGS,
        "Sitzmann, Vincent and Martel, Julien N. P. and Bergman, Alexander W. and Lindell, David B. and "
        "Wetzstein, Gordon",
        2020,
        "Implicit Neural Representations with Periodic Activation Functions",
        "NeurIPS",
        "2006.09661",
    ),
    Work(
        _PROCEEDINGS,
        "Touvron, Hugo and Cord, Matthieu and Douze, Matthijs and Massa, Francisco and Sablayrolles, Alexandre and "
        "Jégou, Hervé",
        2021,
        "Training data-efficient image transformers & distillation through attention",
        "ICML",
        "2012.12877",
    ),
    Work(
        _PROCEEDINGS,
        "Touvron, Hugo and Cord, Matthieu and Sablayrolles, Alexandre and Synnaeve, Gabriel and Jégou, Hervé",
        2021,
        "Going deeper with Image Transformers",
        "ICCV",
        "2103.17239",
    ),
    Work(
        _PROCEEDINGS,
        "Dosovitskiy, Alexey and Beyer, Lucas and Kolesnikov, Alexander and Weissenborn, Dirk and Zhai, Xiaohua "
        "and Unterthiner, Thomas and Dehghani, Mostafa and Minderer, Matthias and Heigold, Georg and Gelly, "
        "Sylvain and Uszkoreit, Jakob and Houlsby, Neil",
        2021,
        "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale",
        "ICLR",
        "2010.11929",
    ),
    Work(
        _ARTICLE,
        "Hewitt, John",
        2021,
        "Initializing New Word Embeddings for Pretrained Language Models",
        "Blog post",
    ),
    Work(
        _PROCEEDINGS,
        "Liu, Ze and Lin, Yutong and Cao, Yue and Hu, Han and Wei, Yixuan and Zhang, Zheng and Lin, Stephen and "
        "Guo, Baining",
        2021,
        "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows",
        "ICCV",
        "2103.14030",
    ),
    Work(
        _PROCEEDINGS,
        "Gu, Albert and Goel, Karan and Gupta, Ankit and Ré, Christopher",
        2022,
        "On the Parameterization and Initialization of Diagonal State Space Models",
        "NeurIPS",
        "2206.11893",
    ),
    Work(
        _PROCEEDINGS,
        "Bingham, Garrett and Miikkulainen, Risto",
        2023,
        "AutoInit: Analytic Signal-Preserving Weight Initialization for Neural Networks",
        "AAAI",
        "2109.08958",
    ),
    Work(
        _PROCEEDINGS,
        "Chang, Oscar and Flokas, Lampros and Lipson, Hod",
        2020,
        "Principled Weight Initialization for Hypernetworks",
        "ICLR",
        "2312.08399",
    ),
    Work(
        _PROCEEDINGS,
        "Beyer, Lucas and Izmailov, Pavel and Kolesnikov, Alexander and Caron, Mathilde and Kornblith, Simon and "
        "Zhai, Xiaohua and Minderer, Matthias and Tschannen, Michael and Alabdulmohsin, Ibrahim and Pavetic, Filip",
        2023,
        "FlexiViT: One Model for All Patch Sizes",
        "CVPR",
        "2212.08013",
    ),
    Work(
        _PROCEEDINGS,
        "Xu, Zhiqiu and Chen, Yanjie and Vishniakov, Kirill and Yin, Yida and Shen, Zhiqiang and Darrell, Trevor "
        "and Liu, Lingjie and Liu, Zhuang",
        2024,
        "Initializing Models with Larger Ones",
        "ICLR",
        "2311.18823",
    ),
)


def found(reference: str) -> tuple[Work, ...]:
    """The works that a reference names, in order; what is no publication (``torch.nn source``) gives none."""
    works = []
    for part in reference.split(";"):
        number = re.search(r"arXiv (\d{4}\.\d{5})|arXiv (\d{4}\.\d{4})", part)
        named = re.match(r"\s*([A-Z]\w+).*?\b((?:19|20)\d\d)\b", part)
        for work in WORKS:
            by_number = number is not None and work.arxiv == (number[1] or number[2])
            by_name = number is None and named is not None and (work.first, str(work.year)) == (named[1], named[2])
            if by_number or by_name:
                works.append(work)
    return tuple(works)


def bibliography(references: Iterable[str]) -> str:
    """BibTeX for every work that the references name, each once, by year."""
    works = {work.key: work for reference in references for work in found(reference)}
    return "\n\n".join(w.bibtex() for w in sorted(works.values(), key=lambda w: (w.year, w.first)))
