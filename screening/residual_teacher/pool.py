import sys
import numpy as np
from teach import resnet
from lenet_keras.backend import keras, tf
from lenet_keras.data import load_data
from lenet_keras.recipe import Recipe
from lenet_keras.pipeline import training_batches, normalisation
import time
def main(weights, W, out, epochs, mix, seed, shift=2):
    data=load_data("cifar10"); norm=normalisation(data,tf)
    ts=[]
    for w in weights.split(","):
        m=resnet(W,res=True); m.load_weights(w); ts.append(m)
    f=tf.function(lambda x: tf.add_n([tf.nn.softmax(t(norm(x),training=False)) for t in ts])/len(ts),jit_compile=False)
    r=Recipe(augmentation=["flip","shift"],shift_pixels=shift,epochs=epochs,batch_size=500)
    b=training_batches(data,r,seed)
    X=np.lib.format.open_memmap(out+"_x.npy","w+",np.uint8,(epochs*45000,32,32,3)); Y=np.lib.format.open_memmap(out+"_y.npy","w+",np.float16,(epochs*45000,10))
    rng=np.random.default_rng(seed); t0=time.time()
    for i,(x,y) in enumerate(b.dataset):
        x=x.numpy().astype(np.float32)
        if mix>0:
            w=np.where(rng.random(500)<mix, rng.uniform(.5,1,500),1.)[:,None,None,None].astype(np.float32)
            x=w*x+(1-w)*x[rng.permutation(500)]
        x=np.rint(x).astype(np.uint8)
        X[i*500:i*500+500]=x; Y[i*500:i*500+500]=f(tf.constant(x)).numpy()
        if i%180==179: print(i//90,time.time()-t0,flush=True)
    X.flush();Y.flush()
if __name__=="__main__":
    a=sys.argv; main(a[1],eval(a[2]),a[3],int(a[4]),float(a[5]),int(a[6]))
