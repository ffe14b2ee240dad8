"""A network in a pipeline of scikit-learn, and a search over its layers and its learning rate."""

from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastconv.interop.sklearn import FastconvClassifier
from fastconv.layers import Dense, Dropout, ReLU

X, y = load_iris(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
classifier = FastconvClassifier(epochs=30, batch_size=16, preprocessing="none", random_state=0)
pipeline = make_pipeline(StandardScaler(), classifier)
grid = {
    "fastconvclassifier__network": [[], [Dense(32), ReLU(), Dropout(0.2)]],
    "fastconvclassifier__learning_rate": [0.003, 0.03],
}
search = GridSearchCV(pipeline, grid, cv=3).fit(X_train, y_train)  # n_jobs=2 for two at a time
print(search.best_params_)
print(f"test accuracy {search.score(X_test, y_test):.3f}")
