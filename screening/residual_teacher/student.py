import sys,time,functools
import numpy as np
from lenet_keras.backend import keras, tf
from lenet_keras.data import load_data
from lenet_keras.recipe import Recipe
from lenet_keras import training
from lenet_study.stack import Stack
from lenet_study import members
from lenet_study.shards import shard_count
def main(pool,epochs,mem,seed,extra={}):
    data=load_data("cifar10")
    base=dict(activation="gelu",pooling="max",kernel_initializer="he_normal",normalization="batch",optimizer="adamw",schedule="warmup_cosine",epochs=epochs); base.update(extra)
    rs=[Recipe(**base,learning_rate=l,weight_decay=w) for l,w in mem]
    X=tf.constant(np.load(pool+"_x.npy")) if False else np.load(pool+"_x.npy",mmap_mode="r"); Y=np.load(pool+"_y.npy")
    steps=351; n=len(Y)
    def gen():
        k=n//45000
        for e in range(epochs):
            p=np.random.default_rng([seed,e]).permutation(45000)[:steps*128].reshape(steps,128)+(e%k)*45000
            for q in p:
                q=np.sort(q); yield X[q],Y[q].astype(np.float32)
    d=tf.data.Dataset.from_generator(gen,output_signature=(tf.TensorSpec((128,32,32,3),tf.uint8),tf.TensorSpec((128,10),tf.float32))).prefetch(8)
    o=tf.data.Options(); o.autotune.enabled=False; d=d.with_options(o)
    s=Stack(rs,seed) if len(rs)>1 else Stack(rs,seed)
    s.shards,s.prepare=shard_count(rs[0]),members.compiled_normalisation(data)
    s.compile_members(epochs*steps,**training.execution(steps))
    t0=time.time()
    class CB(keras.callbacks.Callback):
        def on_epoch_end(self,e,logs):
            if (e+1)%5==0 or e==0:
                z=members.predict(s,data.validation); print(e+1,round(time.time()-t0),np.round(np.atleast_1d(logs.get("member_loss")),3),"val",[(round(float((z[:,i].argmax(1)==data.validation.labels).mean()),4)) for i in range(len(rs))],flush=True)
    s.fit(d,epochs=epochs,steps_per_epoch=steps,callbacks=[CB()],shuffle=False,verbose=0)
    print("FINAL",pool,epochs,mem)
if __name__=="__main__":
    a=sys.argv; main(a[1],int(a[2]),eval(a[3]),int(a[4]),eval(a[5]) if len(a)>5 else {})
