"""What the help of every sub-command shows as examples: arguments, and what they do."""

EXAMPLES: dict[str, list[tuple[str, str]]] = {
    "train": [
        ("config.yaml", "train, or go on where the same command stopped"),
        ("config.yaml method=role optim.lr=1e-4", "the same with another method and rate"),
        ("recipe:cole_role_linear data.root=VOCdevkit", "a published experiment"),
        ("config.yaml --json > events.jsonl", "one event a line for a program"),
    ],
    "import-checkpoint": [
        ("--from spml bestmodel.pt config.yaml data.root=VOCdevkit --out best.pt", "then plml evaluate best.pt"),
    ],
    "evaluate": [
        ("runs/role-1a2b3c4d/best.pt", "figures of the test split"),
        ("runs/role-1a2b3c4d/best.pt --split val --json", "of the validation split, as JSON"),
        ("runs/role-1a2b3c4d/best.pt data.root=/other/VOCdevkit", "with the data elsewhere"),
    ],
    "predict": [
        ("runs/role-1a2b3c4d/best.pt photo.jpg", "the five most probable classes"),
        ("runs/role-1a2b3c4d/best.pt photos --csv", "every class of every image below a folder"),
    ],
    "thresholds": [
        ("runs/role-1a2b3c4d/best.pt", "one a class, from the labels that the setting has"),
        ("runs/role-1a2b3c4d/best.pt --global --calibrate", "one for all classes, and calibrated probabilities"),
    ],
    "export": [
        ("runs/role-1a2b3c4d/best.pt --out role.onnx", "for onnxruntime"),
        ("runs/role-1a2b3c4d/best.pt --format torch-export --out role.pt2", "for torch.export.load"),
    ],
    "explain": [
        ("A/best.pt B/best.pt photo.jpg --out pictures", "class maps of one photo by two models"),
        ("A/best.pt --data test --number 4 --out pictures", "of four test images"),
    ],
    "compare": [
        ("runs/an-1a2b3c4d runs/role-5e6f7a8b", "configuration, figures and classes that differ"),
        ("digits/0003 digits/0007 --html compared.html", "two trials of a study, as a page with curves"),
    ],
    "register": [
        ("runs/role-1a2b3c4d/best.pt --name scenes --alias champion", "a version of a model in MLflow's registry"),
    ],
    "features": [
        ("config.yaml mode=linear data.root=VOCdevkit", "before several trainings share them"),
    ],
    "cache": [
        ("list", "what is there"),
        ("drop --unused-for 30d", "make room"),
    ],
    "cache list": [("", "what is cached, its size and last use"), ("--json", "the same for a program")],
    "cache build": [
        ("config.yaml data.root=VOCdevkit", "decode the images of a configuration"),
        ("recipe:cole_role_linear data.root=VOCdevkit", "extract features"),
    ],
    "cache verify": [("", "everything"), ("3f2a", "what has a key that begins so")],
    "cache drop": [
        ("--to-size 20GB", "the least recently used, until 20 GB are left"),
        ("3f2a --yes", "one array, without a question"),
    ],
    "prior": [("runs/csl-1a2b3c4d --out prior.csv", "then plml train ... method=csl method.prior_file=prior.csv")],
    "reselect": [
        ("digits", "what each criterion would have picked in a study"),
        ("runs --criterion map --criterion ap_auc --csv picked.csv", "two criteria over the runs of a folder"),
    ],
    "import": [
        ("observed.npy --from signed --out labels.npz", "1 positive, -1 negative, 0 unknown"),
        ("labels.npz --from ours --to signed --out signed.npy", "and back"),
    ],
    "doctor": [
        ("", "the installation and the devices"),
        ("--data voc2007 --root VOCdevkit --deep", "a data set, every image decoded"),
    ],
    "methods": [("", "names, hyperparameters, defaults and searched ranges"), ("--json", "the same for a program")],
    "datasets": [("", "what data.name can be"), ("--json", "the same for a program")],
    "auxiliaries": [("", "what auxiliary.name can be"), ("--json", "the same for a program")],
    "heads": [("", "what model.head can be"), ("--json", "the same for a program")],
    "recipes": [("", "what plml train recipe:NAME can train"), ("--json", "the same for a program")],
    "settings": [
        ("", "what data.observation can be"),
        ("draw config.yaml data.observation=single_positive --out labels.npz", "one draw as a file"),
    ],
    "settings draw": [
        ("config.yaml data.observation=single_positive --out labels.npz", "labels that other projects can train on"),
    ],
    "settings show": [("labels.npz", "what it is, and its digest"), ("labels.npz --json", "the same for a program")],
    "settings export": [("labels.npz --format cole --out spml/data/pascal", "the files that another project reads")],
    "completion": [
        ("bash > ~/.plml-completion.bash", "then: echo 'source ~/.plml-completion.bash' >> ~/.bashrc"),
        ("zsh plml > ~/.zfunc/_plml", "one command, for a folder of zsh's fpath"),
    ],
}
